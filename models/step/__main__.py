"""y = rnn.step(x): the same numbers as from the whole sequence at once?"""

from ..common.start import start

if __name__ == "__main__":
    start("step", "models")
