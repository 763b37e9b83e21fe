// Tells that something below a folder changed, by whomever: programs that carry no hook ask nobody, and yet
// what they write is to be saved before the log-off. A hint only, which makes the next interval worth a
// snapshot; what changed is seen there.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "agent/win/base/handle.h"
#include "common/base/result.h"

namespace roamstead::agent {

class ChangeWatch {
 public:
  // `folder` as Windows has it: "C:\Users\alice". `note` is called on a thread of the watch's own, at most
  // about once a second; also for what the agent itself loads, which nobody can tell apart here.
  static Result<std::unique_ptr<ChangeWatch>> start(const std::string& folder, std::function<void()> note);
  ~ChangeWatch();
  ChangeWatch(const ChangeWatch&) = delete;
  ChangeWatch& operator=(const ChangeWatch&) = delete;

 private:
  ChangeWatch() = default;
  void run(HANDLE changes) const;

  std::function<void()> note_;
  win::Handle stopped_;
  std::thread thread_;
};

}  // namespace roamstead::agent
