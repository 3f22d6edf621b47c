"""What only the lessons use: the set-up of a lesson, the checks of its exercises, its plots, the explorer, the chat."""

from minigpt.course.ready import check_packages

check_packages()  # before anything asks torch for what an old one lacks

from minigpt.course import check  # noqa: E402
from minigpt.course.chat import chat  # noqa: E402
from minigpt.course.explore import explore  # noqa: E402
from minigpt.course.lesson import start_lesson  # noqa: E402
