"""Shell. What keeps bpf(2) from us: the limit of locked memory lifted, a refusal in words. Loads nothing."""

import errno
import resource


def memlock_raised() -> bool:
    """Lift the limit of locked memory, and say whether it was limited and now is not."""
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    if resource.getrlimit(resource.RLIMIT_MEMLOCK) == unlimited:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, unlimited)
    except (OSError, ValueError):
        return False
    return True


def explain(cause: OSError) -> str:
    """Say what a refusal of bpf(2) means, and what to do."""
    if cause.errno in (errno.EPERM, errno.EACCES):
        return (
            f"bpf(2) is not allowed: {cause.strerror}; run as root (CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN;"
            " before kernel 5.11 also with ulimit -l unlimited)"
        )
    if cause.errno == errno.ENOSYS:
        return "this kernel has no bpf(2) system call (CONFIG_BPF_SYSCALL)"
    if cause.errno == errno.EINVAL:
        return (
            f"the kernel refused a map or its pin: {cause.strerror};"
            " it is older than 5.10, or bpffs is not mounted"
        )
    return f"bpf(2) failed: {cause.strerror}"
