"""Training: :mod:`.service` starts, resumes and finishes a run, :mod:`.trainer` is its loop, :mod:`.folder`
its folder and settings. The other modules are parts of these."""
