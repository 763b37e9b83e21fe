// Disks, volumes and hives that others published, in a folder of its own: ROAMSTEAD_CORPUS, or ../shared/data
// beside the project. Where it is missing, tests skip and say so.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <iostream>
#include <string>

namespace roamstead::support {

// The path of `name` in the folder; "", and a message, when it is not there.
inline std::string corpus(const std::string& name) {
  std::string folder;
  if (const char* set = std::getenv("ROAMSTEAD_CORPUS"); set != nullptr)
    folder = set;
  else if (const char* source = std::getenv("ROAMSTEAD_SOURCE_DIR"); source != nullptr)  // CTest sets it
    folder = std::string(source) + "/../shared/data";
  if (!folder.empty() && std::filesystem::exists(folder + "/" + name)) return folder + "/" + name;
  std::cout << "skipped: set ROAMSTEAD_CORPUS to a folder with " << name << '\n';
  return "";
}

}  // namespace roamstead::support
