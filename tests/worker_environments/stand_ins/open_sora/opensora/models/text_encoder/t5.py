def text_preprocessing(text: str) -> str:
    return text.lower().strip()
