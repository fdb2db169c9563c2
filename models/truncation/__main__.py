"""What does truncated backpropagation through time cost, and what does it buy?"""

from ..common.start import start

if __name__ == "__main__":
    start("truncation", "models")
