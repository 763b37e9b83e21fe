#include "coordinator/compose/join_blobs.h"

#include <algorithm>
#include <cctype>

#include "common/base/text.h"

namespace roamstead::compose {
namespace {

constexpr std::uint64_t kMostBlobBytes = 16u << 20;
constexpr std::size_t kMostProblems = 20;

std::string lower_case(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

bool same_domain(const join::Domain& a, const join::Domain& b) {
  return a.sid == b.sid && a.guid == b.guid && same_name(a.dns_name, b.dns_name) &&
         same_name(a.netbios_name, b.netbios_name);
}

Result<std::pair<join::OdjBlob, join::SecretBytes>> read_blob(os::FileSystem& files,
                                                              const std::string& path) {
  RS_TRY(auto text, os::read_file(files, path, kMostBlobBytes));
  auto data = join::odj_data_of_text(text);
  join::cleanse(text.data(), text.size());
  if (!data) return fail(Error(data.error()).with(path));
  RS_TRY_CTX(auto blob, path, join::parse_odj_data(*data));
  RS_CHECK_CTX(path, join::check_membership(blob.membership));
  return std::pair(std::move(blob), std::move(*data));
}

}  // namespace

Result<JoinBlobs> JoinBlobs::open(os::FileSystem& files, const std::string& directory,
                                  const std::vector<std::string>& machines) {
  RS_TRY_CTX(const auto names, "join.blobs", files.list_directory(directory));
  JoinBlobs blobs;
  std::vector<std::string> problems;
  std::map<std::string, std::string> found;
  for (const auto& name : names) {
    const auto [at, added] = found.emplace(lower_case(name), os::join_path(directory, name));
    if (!added) problems.push_back(at->second + " and " + name + " are of one machine");
  }
  bool first = true;
  for (const auto& machine : machines) {
    const auto at = found.find(lower_case(machine) + ".txt");
    if (at == found.end()) {
      problems.push_back(os::join_path(directory, machine + ".txt") + " is missing");
      continue;
    }
    const auto read = read_blob(files, at->second);
    if (!read) {
      problems.push_back(read.error().to_string());
      continue;
    }
    const auto& [blob, data] = *read;
    const auto& membership = blob.membership;
    if (!same_name(membership.machine_name, machine))
      problems.push_back(at->second + " is for " + membership.machine_name + ", not " + machine);
    if (first) {
      blobs.domain_ = membership.domain;
      blobs.controller_ = blob.controller;
      first = false;
    } else if (!same_domain(membership.domain, blobs.domain_)) {
      problems.push_back(at->second + " is for the domain " + membership.domain.dns_name + " (" +
                         membership.domain.sid.to_string() + "), others for " + blobs.domain_.dns_name +
                         " (" + blobs.domain_.sid.to_string() + ")");
    }
    blobs.most_bytes_ = std::max<std::uint64_t>(blobs.most_bytes_, data.size());
    blobs.paths_.emplace(lower_case(machine), at->second);
  }
  if (problems.empty()) return blobs;
  std::string all = "join.blobs: ";
  for (std::size_t i = 0; i < std::min(problems.size(), kMostProblems); ++i)
    all += (i == 0 ? "" : "\n") + problems[i];
  if (problems.size() > kMostProblems)
    all += "\nand " + std::to_string(problems.size() - kMostProblems) + " more";
  return fail(ErrorCode::invalid_argument, all);
}

Result<JoinBlobs::One> JoinBlobs::read(os::FileSystem& files, const std::string& machine) const {
  const auto at = paths_.find(lower_case(machine));
  if (at == paths_.end()) return fail(ErrorCode::not_found, "no blob of " + machine);
  RS_TRY(auto blob, read_blob(files, at->second));
  // Replaced since it was looked at.
  if (!same_name(blob.first.membership.machine_name, machine) ||
      !same_domain(blob.first.membership.domain, domain_) || blob.second.size() > most_bytes_)
    return fail(ErrorCode::stale, at->second + ": changed since this job began; the same command goes on");
  return One{std::move(blob.first.membership), std::move(blob.second)};
}

}  // namespace roamstead::compose
