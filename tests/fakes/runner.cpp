// Stands for a runner on a phone: answers a job with a whole, valid record at once, or after as
// many milliseconds as its model file says first; what follows is a file for its diary of what it
// began and finished. Its samples are a known function of the launch's name, so that a number of
// another launch, or a damaged one, is recognised (`tests/fakes/packs.py`).
#include <fcntl.h>
#include <sched.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <sstream>
#include <string>

static std::string read_file(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The value after `"key":`, up to one of `ends`; the job is JSON without spaces.
static std::string field(const std::string& job, const std::string& key, const char* ends) {
  const size_t at = job.find("\"" + key + "\":");
  if (at == std::string::npos) return "";
  const size_t from = at + key.size() + 3;
  return job.substr(from, job.find_first_of(ends, from) - from);
}

static std::string text(const std::string& job, const std::string& key) {
  const std::string quoted = field(job, key, ",}");
  return quoted.size() < 2 ? "" : quoted.substr(1, quoted.size() - 2);
}

static uint32_t crc32(const std::string& bytes) {
  uint32_t crc = ~0u;
  for (const unsigned char byte : bytes) {
    crc ^= byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
  }
  return ~crc;
}

// Do as the job says about cores, and return those that are in force.
static std::string pin_cores(const std::string& job) {
  cpu_set_t cores;
  const std::string asked = field(job, "affinity", "]");
  if (asked.rfind("[", 0) == 0) {
    CPU_ZERO(&cores);
    std::istringstream numbers(asked.substr(1));
    for (std::string one; std::getline(numbers, one, ',');) CPU_SET(std::atoi(one.c_str()), &cores);
    sched_setaffinity(0, sizeof(cores), &cores);
  }
  std::string actual;
  sched_getaffinity(0, sizeof(cores), &cores);
  for (int core = 0; core < CPU_SETSIZE; ++core) {
    if (CPU_ISSET(core, &cores)) actual += (actual.empty() ? "" : ",") + std::to_string(core);
  }
  return actual;
}

// One whole line at once: no matter who is killed, a line is there or not.
static bool note(const std::string& diary, const std::string& line) {
  if (diary.empty()) return true;
  const int file = open(diary.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
  const ssize_t size = static_cast<ssize_t>(line.size());
  return file >= 0 && write(file, line.data(), line.size()) == size && close(file) == 0;
}

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  std::string job = read_file(argv[1]);
  while (!job.empty() && job.back() == '\n') job.pop_back();  // it becomes part of a line
  const std::string launch = text(job, "launch");
  std::ifstream model(text(job, "model_file"));
  int wait_ms = 0;
  std::string diary;
  model >> wait_ms >> diary;
  if (!note(diary, "began " + launch + "\n")) return 1;
  const std::string cores = pin_cores(job);
  const uint32_t number = crc32(launch) % 1000000 + 1;
  std::ostringstream body;
  body << R"({"type":"header","record_version":3,"launch":")" << launch
       << R"(","engine":{"name":"lite","version":"0"},"runner":{"version":"0","compiler":"none"},)"
       << R"("device":{"machine":"none","kernel":"none","cpus_online":1,"page_bytes":4096,)"
       << R"("memory_total_bytes":1,"cpuset":null},"clock":{"name":"CLOCK_MONOTONIC",)"
       << R"("resolution_ns":1,"read_cost_ns":1},"exec_ns":1,"main_ns":2,"unix_ns":3,"job":)" << job
       << "}\n"
       << R"({"type":"actual","threads":1,"affinity":[)" << cores
       << R"(],"memory_format":"contiguous","quantized_engine":null,"model_resident_fraction":0})"
       << "\n"
       << R"({"type":"samples","phase":"steady","start_ns":[1,2,3],"duration_ns":[)" << number
       << "," << number << "," << number << R"(],"counters":null})"
       << "\n"
       // The three floats 1, 2, 3: `tests.fakes.device.OUTPUT`.
       << R"({"type":"output","sample":0,"index":0,"dtype":"float32","shape":[1,3],)"
       << R"("base64":"AACAPwAAAEAAAEBA"})"
       << "\n";
  const std::string partial = std::string(argv[2]) + ".partial";
  std::ofstream file(partial, std::ios::binary);
  file << body.str() << std::flush;
  usleep(wait_ms * 1000);
  file << R"({"type":"end","status":"ok","time_ns":99,"records":5,"bytes":)" << body.str().size()
       << R"(,"crc32":)" << crc32(body.str()) << "}\n";
  file.close();
  if (!file) return 1;
  if (std::rename(partial.c_str(), argv[2]) != 0) return 1;
  note(diary, "finished " + launch + "\n");
  return 0;
}
