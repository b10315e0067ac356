"""Drop-in compilers, ``codezero-cc`` and ``codezero-c++``, and the server that works for them."""
