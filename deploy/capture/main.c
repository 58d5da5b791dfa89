/* outrigger-capture: brings the traffic of the network namespace it runs in to the sidecar, and takes it back.
 *
 * One thread, one pass: read what the nat table holds, build one transaction that removes an earlier capture
 * and puts up the new one, hand it to iptables-restore. So a second run changes nothing, a changed one leaves no
 * moment without capture, and a failure leaves the table as it was. IPv4 always; IPv6 where this system has
 * it: elsewhere there is nothing to capture. */
#include "deploy/capture/options.h"
#include "deploy/capture/rules.h"
#include "sidecar/base/die.h"

#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* Where a tool's input comes from or its output goes to: an unlinked file, since both ends at once on pipes could
 * block each other. */
static int scratch_new(struct str content)
{
    int fd = memfd_create("rules", MFD_CLOEXEC);
    if (fd < 0)
        die("memfd_create: %s", strerror(errno));
    for (size_t at = 0; at < content.n;) {
        ssize_t n = write(fd, content.p + at, content.n - at);
        if (n < 0)
            die("cannot hold %zu bytes of rules: %s", content.n, strerror(errno));
        at += (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

/* Runs a tool to its end; its exit code, or 127 when it cannot be run. Its messages are dropped when quiet. */
static int run(const char *const *argv, int in, int out, bool quiet)
{
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, out, STDOUT_FILENO);
    if (quiet)
        posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
    char *args[8];
    size_t count = 0;
    while (argv[count] && count < ARRAY_LEN(args) - 1) {
        args[count] = xstrdup(argv[count]);
        count++;
    }
    args[count] = NULL;
    pid_t pid;
    int status = 0, error = posix_spawnp(&pid, args[0], &actions, NULL, args, environ);
    posix_spawn_file_actions_destroy(&actions);
    while (count > 0)
        free(args[--count]);
    if (error != 0)
        return 127;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* The nat table's rules; false when this system has no such table for us. */
static bool read_table(const char *save_tool, bool quiet, struct buf *saved)
{
    int in = scratch_new(STR_NONE), out = scratch_new(STR_NONE);
    const char *const argv[] = {save_tool, "-t", "nat", NULL};
    bool ok = run(argv, in, out, quiet) == 0;
    lseek(out, 0, SEEK_SET);
    ssize_t n;
    do {
        n = read(out, buf_reserve(saved, 16384), 16384);
        buf_commit(saved, n > 0 ? (size_t)n : 0);
    } while (n > 0);
    close(in);
    close(out);
    return ok;
}

static bool write_table(const char *restore_tool, struct str text)
{
    int in = scratch_new(text);
    const char *const argv[] = {restore_tool, "--noflush", "--wait", "30", NULL};
    int code = run(argv, in, STDERR_FILENO, false);
    close(in);
    if (code != 0)
        fprintf(stderr,
                "outrigger-capture: %s failed with code %d; nothing was changed. It needs NET_ADMIN in this "
                "network namespace, and the rules were:\n%.*s",
                restore_tool, code, STR_FMT(text));
    return code == 0;
}

static bool apply(const struct options *o, enum rules_family family)
{
    bool is_v6 = family == RULES_IPV6, ok = true;
    struct buf saved = {0}, lines = {0}, text = {0};
    if (!read_table(is_v6 ? "ip6tables-save" : "iptables-save", is_v6, &saved)) {
        if (!is_v6)
            fprintf(stderr, "outrigger-capture: iptables-save -t nat does not work here: is iptables "
                            "installed, and has this process NET_ADMIN in its network namespace?\n");
        buf_fini(&saved);
        return is_v6;
    }
    rules_build_removal(buf_str(&saved), &lines);
    if (!o->undo)
        rules_build(o, family, &lines);
    if (buf_len(&lines) > 0) {
        rules_wrap(buf_str(&lines), &text);
        printf("# %s\n%.*s", is_v6 ? "IPv6" : "IPv4", STR_FMT(buf_str(&text)));
        fflush(stdout);
        ok = o->dry_run || write_table(is_v6 ? "ip6tables-restore" : "iptables-restore", buf_str(&text));
    }
    buf_fini(&saved);
    buf_fini(&lines);
    buf_fini(&text);
    return ok;
}

static void print_rules(const struct options *o, enum rules_family family)
{
    struct buf lines = {0}, text = {0};
    rules_build(o, family, &lines);
    rules_wrap(buf_str(&lines), &text);
    printf("# %s\n%.*s", family == RULES_IPV6 ? "IPv6" : "IPv4", STR_FMT(buf_str(&text)));
    buf_fini(&lines);
    buf_fini(&text);
}

/* Users other than root often have no sbin in their path, where iptables lives. */
static void extend_path(void)
{
    const char *path = getenv("PATH");
    char *extended = xasprintf("%s:/usr/sbin:/sbin", path && *path ? path : "/usr/bin:/bin");
    setenv("PATH", extended, 1);
    free(extended);
}

int main(int argc, char **argv)
{
    struct options o;
    struct err err = {0};
    if (!options_parse(argc, argv, &o, &err)) {
        fprintf(stderr, "outrigger-capture: %s\n", err.text);
        return 2;
    }
    if (o.help || o.version) {
        fputs(o.help ? options_usage() : "outrigger-capture " OUTRIGGER_VERSION "\n", stdout);
        return 0;
    }
    if (o.dry_run && !o.undo) {
        print_rules(&o, RULES_IPV4);
        print_rules(&o, RULES_IPV6);
        return 0;
    }
    extend_path();
    return apply(&o, RULES_IPV4) && apply(&o, RULES_IPV6) ? 0 : 1;
}
