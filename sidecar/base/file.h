/* Whole files. */
#ifndef OUTRIGGER_BASE_FILE_H
#define OUTRIGGER_BASE_FILE_H

#include "sidecar/base/buf.h"

/* Appends all that is left to read. 0 or -errno; -EFBIG: it is more than max_bytes. */
int file_read_fd(int fd, size_t max_bytes, struct buf *out);
int file_read(const char *path, size_t max_bytes, struct buf *out);

#endif
