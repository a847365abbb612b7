"""A tool's own progress bars as this agent's progress: tqdm in, lines on the channel out."""

from protocol import Channel
from tqdm.std import tqdm


def listen(channel: Channel) -> None:
    """From now on every tqdm bar of this process is told to the parent too."""
    display = tqdm.display

    def show(bar: tqdm, *args: object, **kwargs: object) -> object:
        if bar.total:
            channel.progress(int(bar.n), int(bar.total), (bar.desc or "steps").strip(": "))
        return display(bar, *args, **kwargs)

    tqdm.display = show
