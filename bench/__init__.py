"""What the path to capital costs, in ratios against floors measured in the same run."""
