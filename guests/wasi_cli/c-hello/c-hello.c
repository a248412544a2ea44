// A preview 1 command from C and wasi-libc: arguments, environment, stdin, a file, an exit code.

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int cat(FILE *from) {
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, from)) > 0;)
        if (fwrite(piece, 1, n, stdout) != n) return 1;
    return ferror(from) ? 1 : 0;
}

int main(int argc, char **argv) {
    if (argc < 2) {
        puts("Hello from C!");
        return 0;
    }
    if (strcmp(argv[1], "args") == 0) {
        for (int n = 2; n < argc; n++) puts(argv[n]);
        return 0;
    }
    if (strcmp(argv[1], "getenv") == 0 && argc == 3) {
        const char *value = getenv(argv[2]);
        puts(value ? value : "(not set)");
        return value ? 0 : 1;
    }
    if (strcmp(argv[1], "cat") == 0 && argc == 2) return cat(stdin);
    if (strcmp(argv[1], "cat") == 0 && argc == 3) {
        FILE *file = fopen(argv[2], "rb");
        if (!file) {
            perror(argv[2]);
            return 1;
        }
        int code = cat(file);
        fclose(file);
        return code;
    }
    if (strcmp(argv[1], "exit") == 0 && argc == 3) return atoi(argv[2]);
    fputs("usage: c-hello [args WORD... | getenv NAME | cat [FILE] | exit CODE]\n", stderr);
    return 2;
}
