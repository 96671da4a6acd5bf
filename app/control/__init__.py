"""The control plane: releases, systems, channels, the TUF repository, decisions and the web pages."""
