from data_tools.documents import (
    Branch,
    Document,
    FrameKey,
    Image,
    Kind,
    Text,
    frames_of,
    segments_of,
    texts_of,
)


def sample() -> Document:
    def piece(name: str, frame: int) -> tuple[Text, Image]:
        return Text(name, 1.0), Image(FrameKey(2, frame), is_target=True)

    grown = Branch(piece("b", 3), (Branch(piece("c", 5)), Branch(piece("d", 7))))
    return Document(Kind.forward, piece("a", 0), (grown, Branch(piece("e", 11))))


def test_segments_come_context_first_then_depth_first():
    assert [text.text for text in texts_of(sample())] == list("abcde")
    assert [key.frame for key in frames_of(sample())] == [0, 3, 5, 7, 11]
    assert len(list(segments_of(sample()))) == 10


def test_equal_documents_are_equal_and_hashable():
    assert sample() == sample()
    assert len({sample(), sample()}) == 1
