"""What becomes of a gradient on its way back through time?"""

from ..common.start import start

if __name__ == "__main__":
    start("gradients", "models")
