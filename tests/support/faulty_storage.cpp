#include "tests/support/faulty_storage.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <stdexcept>
#include <utility>

namespace roamstead::support {

FaultyStorage::FaultyStorage(std::string plan_file, std::string directory)
    : plan_file_(std::move(plan_file)), directory_(std::move(directory)) {
  const int file = ::open(plan_file_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (file < 0 || ::ftruncate(file, sizeof(StoragePlan)) != 0)
    throw std::runtime_error(plan_file_ + ": cannot be made");
  void* page = ::mmap(nullptr, sizeof(StoragePlan), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  ::close(file);
  if (page == MAP_FAILED) throw std::runtime_error(plan_file_ + ": cannot be mapped");
  plan_ = static_cast<StoragePlan*>(page);
}

FaultyStorage::~FaultyStorage() {
  clear();  // whoever hangs may go on
  ::munmap(plan_, sizeof(StoragePlan));
}

void FaultyStorage::clear() {
  for (auto* chance :
       {&plan_->disk_full, &plan_->write_error, &plan_->short_write, &plan_->sync_error, &plan_->hangs})
    *chance = 0;
}

std::map<std::string, std::string> FaultyStorage::environment(const std::string& library) const {
  return {
      {"LD_PRELOAD", library}, {kStoragePlanVariable, plan_file_}, {kStorageDirectoryVariable, directory_}};
}

}  // namespace roamstead::support
