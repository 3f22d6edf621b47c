"""What only the lessons use: the set-up of a lesson, the checks of its exercises, its plots."""

from minigpt.course import check
from minigpt.course.lesson import start_lesson
