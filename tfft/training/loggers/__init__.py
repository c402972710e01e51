"""Where figures are logged while a model trains, one file each."""
