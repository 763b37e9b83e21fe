// roamstead-coordinator as a process of its own.
#pragma once

#include <sys/types.h>

#include <map>
#include <string>
#include <vector>

namespace roamstead::support {

struct CoordinatorProcessOptions {
  std::vector<std::string> arguments;                   // all of them
  std::map<std::string, std::string> environment = {};  // set besides the test's own
  int listener = -1;                                    // passed as systemd passes a socket
  bool wait_until_ready = true;
  std::string log = {};  // appended to; "": shown with ROAMSTEAD_TEST_LOG set, else dropped
};

class CoordinatorProcess {
 public:
  // Throws std::runtime_error where no process can be made. One that ends before it listens is only not
  // ready.
  CoordinatorProcess(const std::string& program, const CoordinatorProcessOptions& options);
  CoordinatorProcess(const CoordinatorProcess&) = delete;
  CoordinatorProcess& operator=(const CoordinatorProcess&) = delete;
  ~CoordinatorProcess();  // by SIGKILL, where it still runs

  bool is_ready() const { return !address_.empty(); }
  const std::string& address() const { return address_; }
  pid_t pid() const { return pid_; }
  bool has_ended();
  // Exit status, or 128 + the signal that ended it, as a shell says it; of one that has ended the same again.
  int wait();
  int terminate();  // SIGTERM, then wait
  int kill();       // SIGKILL, then wait

 private:
  void keep_status(int status);

  pid_t pid_ = -1;
  int output_ = -1;
  int status_ = 0;
  std::string address_;
};

}  // namespace roamstead::support
