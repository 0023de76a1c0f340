/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <arpa/inet.h>
#include <ifaddrs.h>
#include <stdio.h>

#include "kernel/hostnet.h"
#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

DEFINE_CLEANUP(struct ifaddrs, freeifaddrs)

int hostnet_collect(HostSearch *s, int dirfd, const char *name) {
        _cleanup_closedir_ DIR *dir = NULL;
        char master[IF_NAMESIZE];
        const char *entry;
        int r;

        if (s->n_nets == HOSTSEARCH_NETS_MAX || strlen(name) >= IF_NAMESIZE) {
                s->incomplete = true;
                return 0;
        }
        (void) text_copy(s->nets[s->n_nets++], IF_NAMESIZE, name);

        r = sysfs_read_link_name(dirfd, "master", master, sizeof(master));
        if (r < 0 && r != -ENOENT)
                return r;
        if (r == -ENOENT)
                master[0] = '\0';
        else
                hostsearch_add(s, "network", "%s is a port of %s", name, master);

        /* VLANs, macvlans and the like on top of it: upper_eth0.5. The master is among them. */
        r = sysfs_open_directory(dirfd, ".", &dir);
        if (r < 0)
                return r;
        while ((r = sysfs_next(dir, &entry)) > 0)
                if (strncmp(entry, "upper_", 6) == 0 && !streq(entry + 6, master))
                        hostsearch_add(s, "network", "%s carries the interface %s", name, entry + 6);
        return r;
}

static bool has_net(const HostSearch *s, const char *name) {
        for (size_t i = 0; i < s->n_nets; i++)
                if (streq(s->nets[i], name))
                        return true;
        return false;
}

static void check_address(HostSearch *s, const struct ifaddrs *a) {
        char text[INET6_ADDRSTRLEN];
        const void *address;

        if (!a->ifa_addr || !(a->ifa_flags & IFF_UP) || !has_net(s, a->ifa_name))
                return;
        if (a->ifa_addr->sa_family == AF_INET)
                address = &((const struct sockaddr_in *) (const void *) a->ifa_addr)->sin_addr;
        else if (a->ifa_addr->sa_family == AF_INET6) {
                address = &((const struct sockaddr_in6 *) (const void *) a->ifa_addr)->sin6_addr;
                /* The kernel gives one of these to whatever is up, nobody need have wanted it. */
                if (IN6_IS_ADDR_LINKLOCAL(address))
                        return;
        } else
                return;
        if (inet_ntop(a->ifa_addr->sa_family, address, text, sizeof(text)))
                hostsearch_add(s, "network", "%s has the address %s", a->ifa_name, text);
}

static int read_addresses(HostSearch *s) {
        _cleanup_(freeifaddrsp) struct ifaddrs *list = NULL;

        if (getifaddrs(&list) < 0)
                return -errno;
        for (const struct ifaddrs *a = list; a; a = a->ifa_next)
                check_address(s, a);
        return 0;
}

/* eth0 00000000 0100000A 0003 0 0 100 00000000 ...: interface, destination, gateway, flags, 3 others, mask */
static bool is_default_v4(const char *line, char name[IF_NAMESIZE]) {
        unsigned long destination, flags, mask;

        return sscanf(line, "%15s %lx %*x %lx %*d %*d %*d %lx", name, &destination, &flags, &mask) == 4 &&
               destination == 0 && mask == 0 && flags & 1; /* RTF_UP */
}

/* Destination, its length, source, its length, next hop, metric, references, uses, flags, interface; all but the last
 * in hex. */
static bool is_default_v6(const char *line, char name[IF_NAMESIZE]) {
        char destination[33];
        unsigned long length, flags;

        return sscanf(line, "%32s %lx %*s %*s %*s %*s %*s %*s %lx %15s", destination, &length, &flags, name) == 4 &&
               length == 0 && strspn(destination, "0") == 32 && flags & 1 && !(flags & 0x200); /* RTF_REJECT */
}

static int read_routes(HostSearch *s, const char *path, bool (*is_default)(const char *line, char name[IF_NAMESIZE])) {
        _cleanup_fclose_ FILE *f = NULL;
        char line[512], name[IF_NAMESIZE];
        int r;

        r = proc_open(s->root_fd, path, &f);
        if (r < 0)
                return r == -ENOENT ? 0 : r; /* a kernel without this protocol */
        while ((r = proc_next_line(f, line, sizeof(line))) > 0)
                if (is_default(line, name) && has_net(s, name))
                        hostsearch_add(s, "network", "%s carries the default route", name);
        return r;
}

int hostnet_read(HostSearch *s) {
        int r;

        if (s->n_nets == 0)
                return 0;
        r = read_addresses(s);
        if (r >= 0)
                r = read_routes(s, "proc/net/route", is_default_v4);
        if (r >= 0)
                r = read_routes(s, "proc/net/ipv6_route", is_default_v6);
        return r;
}
