from ..common.start import start

if __name__ == "__main__":
    start("char_lm", extras="models")
