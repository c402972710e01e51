"""From a backbone to a trained model."""
