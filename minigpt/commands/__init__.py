"""The commands. They import what they need themselves: `minigpt --help` should not wait for torch."""
