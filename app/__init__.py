"""Placet: governed execution on Open Policy Agent."""
