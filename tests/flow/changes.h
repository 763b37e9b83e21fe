// What programs do in a session: each change made both through the desktop's files and in the model.
#pragma once

#include "agent/library/profile_files.h"
#include "tests/flow/generated_profile.h"

namespace roamstead::flow {

class Changes {
 public:
  Changes(agent::ProfileFiles& files, ProfileModel& model, Random& random)
      : files_(files), model_(model), random_(random) {}

  // Reads some files and compares them with the model; returns how many.
  Result<std::size_t> read_some(std::size_t count);
  // A database changed in place, logs appended to, settings rewritten, new files and folders, names in other
  // scripts.
  Result<void> work();
  // Deletes, swapped names, a folder moved with all it holds, files saved by renaming over the old one.
  Result<void> reorganise();
  // Alternate streams, attributes, times, sizes that shrink and grow.
  Result<void> tinker();

 private:
  std::string any_file(const std::string& below);
  Result<void> make_file(const std::string& path, Bytes content);
  Result<void> make_directory(const std::string& path);
  Result<void> write(const std::string& path, const std::string& stream, std::uint64_t offset, ByteView data);
  Result<void> truncate(const std::string& path, const std::string& stream, std::uint64_t size_bytes);
  Result<void> rename(const std::string& from, const std::string& to);
  Result<void> remove(const std::string& path);
  Result<void> remove_tree(const std::string& path);

  agent::ProfileFiles& files_;
  ProfileModel& model_;
  Random& random_;
  int made_ = 0;
};

}  // namespace roamstead::flow
