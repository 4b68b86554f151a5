#!/bin/sh
# Print how many rows a CSV file has below its first line.
tail -n +2 "$1" | wc -l
