"""The network and its gradient as compiled functions for CPUs: LLVM's vocabulary, what is known of the target machine,
the network, the gradient, threads.
"""
