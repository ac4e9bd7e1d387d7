"""Trains the recipes that are its arguments, one after the other: a program for torchrun."""

import sys

from medley.training.loop import train
from medley.training.recipe import read_recipe

if __name__ == "__main__":
    for path in sys.argv[1:]:
        train(read_recipe(path))
