"""Read Dockerfiles, as BuildKit's frontend does: lines, words, instructions, stages. Pure: no file is opened here."""
