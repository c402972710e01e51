"""What is wrong with the data: detectors, their report, and masking of personal data."""
