"""A program that a supervisor starts is given a file to read, and its supervisor no broken pipe."""

import os
import select
import subprocess
import sys
from pathlib import Path

from executors.deploy.engines import FED


def test_the_program_reads_the_file_and_the_pipe_before_it_stays_whole(tmp_path: Path) -> None:
    """Supervisord polls a pipe that nobody can read from again and again, at a third of a processor."""
    file = tmp_path / "asked.json"
    file.write_text("{}\n")
    reader, writer = os.pipe()
    argv = [sys.executable, "-I", "-S", str(FED), str(file), "0", "0", sys.executable, "-c"]
    program = "import sys, time; print(sys.stdin.readline(), end='', flush=True); time.sleep(20)"
    with subprocess.Popen([*argv, program], stdin=reader, stdout=subprocess.PIPE) as child:  # noqa: S603 - our own words
        os.close(reader)
        assert child.stdout
        assert child.stdout.readline() == b"{}\n"
        broken = select.poll()
        broken.register(writer, 0)
        assert broken.poll(0) == []
        child.kill()
    assert broken.poll(0) == [(writer, select.POLLERR)]
    os.close(writer)
