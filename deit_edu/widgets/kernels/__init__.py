"""What runs in the page: kernels in WebAssembly, networks over them, and a student that learns."""
