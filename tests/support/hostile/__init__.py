"""Items that mean harm, made by code from a seed: files that real codecs wrote and something then broke, and titles."""
