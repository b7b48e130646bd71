"""Model repositories and a real tritonserver to serve them: the operator's part (``ssr-serve``)."""
