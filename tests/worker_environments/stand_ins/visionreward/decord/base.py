class DECORDError(Exception):
    pass
