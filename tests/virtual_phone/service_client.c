/* Every command of the phone that the system server answers (getprop, dumpsys, cmd, ...): sends
 * its arguments to /dev/socket/system_server, copies what comes back to stdout and stderr.
 * What the commands do is not here: see system_server.py. */
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { STDOUT = 1, STDERR = 2, EXIT = 3 };

static int write_all(int fd, const char* bytes, size_t length) {
  while (length > 0) {
    ssize_t done = write(fd, bytes, length);
    if (done <= 0) return -1;
    bytes += done;
    length -= (size_t)done;
  }
  return 0;
}

static int read_all(int fd, char* bytes, size_t length) {
  while (length > 0) {
    ssize_t done = read(fd, bytes, length);
    if (done <= 0) return -1;
    bytes += done;
    length -= (size_t)done;
  }
  return 0;
}

static int send_text(int fd, const char* text) {
  uint32_t length = htonl((uint32_t)strlen(text));
  if (write_all(fd, (const char*)&length, sizeof length)) return -1;
  return write_all(fd, text, strlen(text));
}

int main(int argc, char** argv) {
  struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = "/dev/socket/system_server"};
  int server = socket(AF_UNIX, SOCK_STREAM, 0);
  if (connect(server, (struct sockaddr*)&address, sizeof address)) {
    fprintf(stderr, "%s: the system server does not answer\n", argv[0]);
    return 20;
  }
  const char* slash = strrchr(argv[0], '/');
  uint32_t count = htonl((uint32_t)argc);
  if (write_all(server, (const char*)&count, sizeof count)) return 20;
  if (send_text(server, slash ? slash + 1 : argv[0])) return 20;
  for (int i = 1; i < argc; i++)
    if (send_text(server, argv[i])) return 20;

  char header[5];
  static char bytes[65536];
  while (!read_all(server, header, sizeof header)) {
    uint32_t length;
    memcpy(&length, header + 1, sizeof length);
    length = ntohl(length);
    if (length > sizeof bytes || read_all(server, bytes, length)) return 20;
    if (header[0] == EXIT) return (unsigned char)bytes[0];
    if (write_all(header[0] == STDERR ? 2 : 1, bytes, length)) return 1;
  }
  return 20;
}
