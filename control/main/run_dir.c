/* Paths and files of the run directory. */
#include "control/main/run_dir.h"

#include "sidecar/base/die.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define TOKEN_BYTES 24

char *run_dir_path(void)
{
    const char *own = getenv("OUTRIGGER_RUN"), *runtime = getenv("XDG_RUNTIME_DIR"), *tmp = getenv("TMPDIR");
    if (own && own[0])
        return xstrdup(own);
    if (geteuid() == 0)
        return xstrdup("/run/outrigger");
    if (runtime && runtime[0])
        return xasprintf("%s/outrigger", runtime);
    return xasprintf("%s/outrigger-%u", tmp && tmp[0] ? tmp : "/tmp", (unsigned)geteuid());
}

bool run_dir_make(const char *path, struct err *err)
{
    struct stat st;
    if (mkdir(path, 0700) == 0)
        return true;
    int error = errno;
    if (error == EEXIST && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        return true;
    return err_set(err, "%s: cannot be made: %s", path, strerror(error));
}

static char *read_token(const char *path)
{
    char text[256];
    FILE *f = fopen(path, "re");
    size_t n = f ? fread(text, 1, sizeof(text) - 1, f) : 0;
    if (f)
        fclose(f);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == ' '))
        n--;
    return n > 0 ? xmemdup0(text, n) : NULL;
}

static char *make_token(const char *path, struct err *err)
{
    unsigned char raw[TOKEN_BYTES];
    char text[2 * TOKEN_BYTES + 1];
    if (getrandom(raw, sizeof(raw), 0) != (ssize_t)sizeof(raw)) {
        err_set(err, "no random bytes: %s", strerror(errno));
        return NULL;
    }
    for (size_t i = 0; i < sizeof(raw); i++)
        snprintf(text + 2 * i, 3, "%02x", raw[i]);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || dprintf(fd, "%s\n", text) < 0) {
        err_set(err, "%s: cannot be written: %s", path, strerror(errno));
        if (fd >= 0)
            close(fd);
        return NULL;
    }
    close(fd);
    return xstrdup(text);
}

char *run_dir_token(const char *run, struct err *err)
{
    char *path = xasprintf("%s/token", run);
    char *token = access(path, F_OK) == 0 ? read_token(path) : make_token(path, err);
    if (!token && !err->set)
        err_set(err, "%s: cannot be read or is empty; remove it to have a new one made", path);
    free(path);
    return token;
}
