// What a user's first log-in on a desktop would fetch first, laid on its disk beforehand: whole lists of
// folders and the beginnings of files, as one version of his profile has them (docs/format-prewarm.md).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/profile/entry.h"
#include "common/profile/path.h"

namespace roamstead::profile {

inline constexpr std::uint64_t kMostPrewarmBytes =
    64u << 20;  // of the file; a larger one is as if it were not there
inline constexpr const char* kPrewarmFolder = "prewarm";  // in the agent's own folder

struct Prewarm {
  struct Directory {
    ProfilePath path;
    std::vector<NamedEntry> entries;  // all of them, in the order in which `list` gives them

    template <class Archive>
    void serialize(Archive& archive) {
      archive(path, entries);
    }
  };
  struct File {
    ProfilePath path;
    std::uint64_t size_bytes = 0;
    Bytes content;  // of its unnamed stream, from the beginning; not more than size_bytes

    template <class Archive>
    void serialize(Archive& archive) {
      archive(path, size_bytes, content);
    }
  };

  std::string profile;
  std::uint64_t version = 0;
  Entry root;  // of that version
  std::vector<Directory> directories;
  std::vector<File> files;

  template <class Archive>
  void serialize(Archive& archive) {
    archive(profile, version, root, directories, files);
  }
};

// "0123…ef.rsp", whatever a profile's name is made of.
std::string prewarm_file_name(const std::string& profile);

Bytes encode_prewarm(const Prewarm& prewarm);
// ErrorCode::corrupt for what was not written so; unsupported for a later format.
Result<Prewarm> decode_prewarm(ByteView file);

}  // namespace roamstead::profile
