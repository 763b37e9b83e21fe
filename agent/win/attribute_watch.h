// Tells which files below a folder got other attributes.
#pragma once

#include <windows.h>

#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "agent/core/placeholders.h"
#include "agent/win/base/handle.h"

namespace roamstead::agent {

class AttributeWatch {
 public:
  // Called on a thread of its own, with the name below the folder ("deep\file"), until this is destroyed.
  // What comes faster than it is taken is lost: a hint, not a record.
  using Changed = std::function<void(const std::wstring& name, FileNumber file)>;
  static Result<std::unique_ptr<AttributeWatch>> start(const std::wstring& folder, Changed changed);
  ~AttributeWatch();
  AttributeWatch(const AttributeWatch&) = delete;
  AttributeWatch& operator=(const AttributeWatch&) = delete;

 private:
  AttributeWatch() = default;
  void run();
  void report(const std::wstring& name) const;

  std::wstring path_;
  Changed changed_;
  win::Handle folder_, happened_, stop_;
  std::thread thread_;
};

}  // namespace roamstead::agent
