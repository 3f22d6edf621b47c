"""The checks of all exercises: ``from minigpt.course import check``, then ``check.<exercise>(your_function)``.

One module for each lesson, and one line here for each module.
"""
