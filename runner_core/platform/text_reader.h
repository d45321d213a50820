// What a probe reads: the text of a file, or what a command prints. The numbers in it are found by
// readings.h; when probes are read, and where the values go, is the sampler's.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "job.h"

namespace phonebench {

// Longer text is read up to here.
constexpr size_t kMostText = 65536;

// What was read: text, or why there is none.
struct Text {
  std::string_view text;
  const char* trouble = nullptr;  // good until the next reading
  bool stopped = false;           // given up because the reader was asked to stop
};

// Reads the text of one probe again and again. What it needs is allocated at the beginning.
class TextReader {
 public:
  // Made in the process whose id the file's name may hold, and used in that one or a companion's.
  // `buffer` holds kMostText bytes, and may be shared by readers that take turns.
  TextReader(const Probe& probe, char* buffer);
  ~TextReader();
  TextReader(const TextReader&) = delete;
  TextReader& operator=(const TextReader&) = delete;

  // `stop` is a descriptor that becomes readable when a command must be given up; or -1.
  Text read(int stop);

 private:
  Text read_file();
  Text run_command(int stop);
  Text system_trouble(int error);

  std::string path_;
  std::vector<std::string> words_;
  std::vector<char*> arguments_;
  char* buffer_;
  int file_ = -1;
  char trouble_[96] = "";
};

}  // namespace phonebench
