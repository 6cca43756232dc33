"""What runs in the page: kernels in WebAssembly, networks over them, and the training of a student."""
