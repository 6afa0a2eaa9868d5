"""Each stage over artifacts: from the paths of what it reads to the artifact that it writes."""
