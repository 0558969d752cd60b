"""Log segments: what writers leave can be found and read, by span or by execution; capture of streams; retention."""

# ruff: noqa: T201  what these print is what is tested

import asyncio
import contextlib
import contextvars
import io
import logging
import os
import sys
import threading

import pytest

from plait.adapters.logs.capture import MOST_OPEN, StreamCapture
from plait.adapters.logs.segments import SegmentReader
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import LogSpan
from plait.worker.segments import SegmentWriter

RUN = RunId("0190aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa")


def find(reader: SegmentReader, no: int, token: int, run: str = RUN) -> LogSpan | None:
    return reader.find(RunId(run), TaskNo(no), Token(token))


@pytest.fixture
def reader(tmp_path):
    return SegmentReader(tmp_path)


@pytest.fixture
def writer(tmp_path):
    made = SegmentWriter(tmp_path, "w-1")
    yield made
    made.close()


def write(writer: SegmentWriter, no: int, text: str) -> LogSpan:
    offset = writer.begin(RUN, no, 100 + no)
    writer.write(text.encode())
    return LogSpan(segment=writer.name, offset=offset, length=writer.end() - offset)


def test_spans_are_read_exactly(writer, reader):
    spans = [write(writer, no, f"text {no}\n") for no in range(3)]
    assert [reader.read(span) for span in spans] == [b"text 0\n", b"text 1\n", b"text 2\n"]


def test_an_execution_is_found_by_its_token(writer, reader):
    for no in (1, 11, 111):
        write(writer, no, "x" * no)
    for no in (1, 11, 111):
        span = find(reader, no, 100 + no)
        assert span is not None
        assert reader.read(span) == b"x" * no
    assert find(reader, 1, 111) is None
    assert find(reader, 1, 101, run="another") is None
    assert find(reader, 1, 101, run=RUN[1:]) is None


def test_the_last_one_is_open_until_the_next_begins(writer, reader):
    write(writer, 1, "one\n")
    span = find(reader, 1, 101)
    assert span is not None
    assert span.length is None
    writer.write(b"more\n")
    assert reader.read(span) == b"one\nmore\n"
    write(writer, 2, "two\n")
    assert reader.read(span) == b"one\nmore\n"
    assert find(reader, 1, 101) == LogSpan(segment="w-1", offset=0, length=9)


def test_those_that_print_nothing_have_nothing(writer, reader):
    for no in range(3):
        write(writer, no, "")
    write(writer, 3, "said\n")
    silent = find(reader, 1, 101)
    assert silent is not None
    assert reader.read(silent) == b""
    assert reader.read(LogSpan(segment="w-1", offset=0)) == b"said\n"


def test_an_unfinished_index_record_is_not_read(writer, reader, tmp_path):
    write(writer, 1, "one\n")
    with (tmp_path / "w-1.idx").open("ab") as index:
        index.write(b"%s 2 102 1" % RUN.encode())  # of ten or more
    assert find(reader, 2, 102) is None
    assert reader.read(LogSpan(segment="w-1", offset=0)) == b"one\n"


def test_a_grown_segment_is_followed_by_another(tmp_path, reader):
    attached: list[int] = []
    writer = SegmentWriter(tmp_path, "w", attached.append, rotate_at=100)
    spans = [write(writer, no, "x" * 60) for no in range(6)]
    assert [span.segment for span in spans] == ["w", "w", "w.1", "w.1", "w.2", "w.2"]
    assert all(reader.read(span) == b"x" * 60 for span in spans)
    span = find(reader, 0, 100)
    assert span is not None
    assert reader.read(span) == b"x" * 60
    assert len(attached) == 3
    writer.close()


def test_names_cannot_leave_the_folder(reader):
    for name in ("../x", "a/b", "", ".hidden"):
        with pytest.raises(ValueError, match="not the name of a log segment"):
            reader.read(LogSpan(segment=name, offset=0))


def test_a_deleted_segment_is_named(reader):
    with pytest.raises(FileNotFoundError, match=r"gone\.log"):
        reader.read(LogSpan(segment="gone", offset=0, length=1))


def test_prune_deletes_what_is_old_and_has_no_writer(tmp_path, reader):
    old, live, new = (SegmentWriter(tmp_path, name) for name in ("old", "live", "new"))
    for writer in (old, live, new):
        write(writer, 1, "x")
    old.close()
    new.close()
    for path in tmp_path.iterdir():
        if not path.name.startswith("new"):
            os.utime(path, (1000, 1000))
    assert reader.prune(2000) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live.idx", "live.log", "new.idx", "new.log"]
    live.close()
    assert reader.prune(2000) == 1
    assert reader.prune(2000) == 0


def test_prune_is_bounded_and_finds_what_it_left(tmp_path, reader):
    for name in ("a", "b", "c"):
        writer = SegmentWriter(tmp_path, name)
        write(writer, 1, "x")
        writer.close()
    for path in tmp_path.iterdir():
        os.utime(path, (1000, 1000))
    assert reader.prune(2000, 2) == 2
    next(tmp_path.glob("*.idx")).unlink()  # a process died between the two files
    assert reader.prune(2000, 2) == 1
    assert list(tmp_path.iterdir()) == []


# --- capture of streams ----------------------------------------------------------------------------------------------


@pytest.fixture
def capture(tmp_path):
    made = StreamCapture(tmp_path, tee=False)
    yield made
    made.close()


def test_streams_are_captured_and_given_back(capture, reader):
    before = sys.stdout, sys.stderr
    with capture.capture(RUN, 1, 1) as output:
        print("out")
        print("err", file=sys.stderr)
        sys.stdout.write("no newline")
        sys.stdout.writelines(["\n", "lines\n"])
        sys.stdout.buffer.write(b"bytes\n")
        sys.stdout.flush()
    assert reader.read(output.span) == b"out\nerr\nno newline\nlines\nbytes\n"
    assert (sys.stdout, sys.stderr) == before


def test_the_real_stream_gets_it_too_if_asked(tmp_path, reader, capsys):
    capture = StreamCapture(tmp_path, tee=True)
    with capture.capture(RUN, 1, 1) as output:
        print("both")
    assert reader.read(output.span) == b"both\n"
    assert capsys.readouterr().out == "both\n"
    capture.close()


def test_threads_at_the_same_time_do_not_mix(capture, reader):
    barrier = threading.Barrier(4)
    texts: dict[int, bytes] = {}

    def one(no: int) -> None:
        with capture.capture(RUN, no, no) as output:
            for _ in range(20):
                barrier.wait(5)
                print("thread", no)
        texts[no] = reader.read(output.span)

    threads = [threading.Thread(target=one, args=(no,)) for no in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {no: b"thread %d\n" % no * 20 for no in range(4)}


def test_contexts_below_belong_to_it_and_others_do_not(capture, reader, capsys):
    async def below() -> None:
        print("task")
        await asyncio.to_thread(print, "to_thread")

    with capture.capture(RUN, 1, 1) as output:
        asyncio.run(below())
        context = contextvars.copy_context()
        for target in (lambda: context.run(print, "copied"), lambda: print("foreign")):
            thread = threading.Thread(target=target)
            thread.start()
            thread.join()
    assert reader.read(output.span) == b"task\nto_thread\ncopied\n"
    assert capsys.readouterr().out == "foreign\n"


def test_what_is_printed_after_the_end_goes_to_the_real_stream(capture, reader, capsys):
    with capture.capture(RUN, 1, 1) as output:
        late = contextvars.copy_context()
        stream = sys.stdout
    with capture.capture(RUN, 2, 2) as second:
        late.run(print, "late", file=stream)
    assert output.span is None
    assert second.span is None
    assert capsys.readouterr().out == "late\n"


def test_a_redirection_of_user_code_wins(capture, reader):
    with capture.capture(RUN, 1, 1) as output:
        text = io.StringIO()
        with contextlib.redirect_stdout(text):
            print("elsewhere")
        print("here")
    assert text.getvalue() == "elsewhere\n"
    assert reader.read(output.span) == b"here\n"


def test_few_files_for_many_executions(capture, tmp_path):
    for no in range(200):
        with capture.capture(RUN, no, no):
            print(no)
    assert len(list(tmp_path.iterdir())) == 2


def test_those_that_print_nothing_take_no_file(capture, tmp_path):
    with contextlib.ExitStack() as stack:
        silent = [stack.enter_context(capture.capture(RUN, no, no)) for no in range(1000)]
    assert not list(tmp_path.iterdir())
    assert {output.span for output in silent} == {None}


def test_more_may_print_at_once_than_files_may_be_open(capture, reader):
    begun = [contextvars.copy_context() for _ in range(3 * MOST_OPEN)]
    captures = [capture.capture(RUN, no, no) for no in range(len(begun))]
    outputs = [context.run(each.__enter__) for each, context in zip(captures, begun, strict=True)]
    files = len(os.listdir("/dev/fd"))
    for turn in range(2):
        for no, context in enumerate(begun):
            context.run(print, no, turn)
    assert len(os.listdir("/dev/fd")) <= files + 2 * MOST_OPEN
    for no, output in enumerate(outputs):
        assert output.span is not None
        assert reader.read(output.span) == b"%d 0\n%d 1\n" % (no, no)
    found = find(reader, 0, 0)
    assert found is not None
    assert reader.read(found) == b"0 0\n0 1\n"
    for each, context in zip(captures, begun, strict=True):
        context.run(each.__exit__, None, None, None)


def test_log_records_are_kept_and_the_root_logger_is_left_as_it_was(capture, reader):
    root = logging.getLogger()
    before = root.level, list(root.handlers)
    with capture.capture(RUN, 1, 1) as output:
        logging.getLogger("user").error("logged %s", "here")
    assert b"ERROR   user: logged here\n" in reader.read(output.span)
    assert (root.level, root.handlers) == before


def test_without_any_logging_set_up_info_is_kept_and_shown(tmp_path, reader, capsys, monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    capture = StreamCapture(tmp_path, tee=True)
    with capture.capture(RUN, 1, 1) as output:
        logging.getLogger("user").info("hello")
    assert reader.read(output.span).endswith(b"INFO    user: hello\n")
    assert capsys.readouterr().err.endswith("user: hello\n")
    assert root.level == logging.WARNING
    capture.close()


def test_text_that_is_no_unicode_is_kept_readable(capture, reader):
    with capture.capture(RUN, 1, 1) as output:
        print("half \ud800")
    assert reader.read(output.span) == b"half \\ud800\n"
