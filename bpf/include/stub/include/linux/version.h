/* Our programs do not depend on the kernel's version; bcc only wants the macros. */
#define LINUX_VERSION_CODE 330240
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + (c))
