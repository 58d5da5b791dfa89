/* Owns nothing. A file may be a pipe, as a shell's process substitution makes one: its size is not asked for. Any thread. */
#include "sidecar/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#define STEP_BYTES 65536u

int file_read_fd(int fd, size_t max_bytes, struct buf *out)
{
    size_t before = buf_len(out);
    for (;;) {
        ssize_t n = read(fd, buf_reserve(out, STEP_BYTES), STEP_BYTES);
        if (n == 0)
            return 0;
        if (n > 0)
            buf_commit(out, (size_t)n);
        else if (errno != EINTR)
            return -errno;
        if (buf_len(out) - before > max_bytes)
            return -EFBIG;
    }
}

int file_read(const char *path, size_t max_bytes, struct buf *out)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    int rc = file_read_fd(fd, max_bytes, out);
    close(fd);
    return rc;
}
