#include "coordinator/compose/pool_join.h"

#include <sys/stat.h>

#include "coordinator/join/routes.h"

namespace roamstead::compose {
namespace {

// Of a membership no clone's is longer than: what blobs made here need room for.
join::Membership longest(const join::Domain& domain) {
  constexpr std::uint32_t kLongestRid = 0xFFFFFFFF;
  constexpr std::size_t kLongestName = 15;
  return {domain, std::string(kLongestName, 'A'), join::random_machine_password(), kLongestRid};
}

}  // namespace

Result<PoolJoin> PoolJoin::open(os::FileSystem& files, const PoolSpec& spec,
                                const std::vector<std::string>& machines) {
  RS_TRY(auto join, connect(files, spec));
  if (spec.join && !spec.join->blobs.empty()) {
    RS_TRY(join.blobs_, JoinBlobs::open(files, spec.join->blobs, machines));
  }
  return join;
}

Result<PoolJoin> PoolJoin::connect(os::FileSystem& files, const PoolSpec& spec) {
  PoolJoin pool(files);
  if (!spec.join || spec.join->controller.empty()) return pool;
  constexpr std::uint64_t kMostPasswordBytes = 4096;
  join::DirectoryOptions options;
  options.url = spec.join->controller;
  options.bind_name = spec.join->bind_name;
  options.ca_file = spec.join->ca_file;
  if (!options.bind_name.empty()) {
    RS_TRY(auto content, os::read_file(files, spec.join->password_file, kMostPasswordBytes));
    const auto line = as_text(content).substr(0, as_text(content).find_first_of("\r\n"));
    options.bind_password = join::to_secret(as_bytes(line));
    join::cleanse(content.data(), content.size());
  }
  RS_TRY_CTX(pool.directory_, "join", join::Directory::connect(options));
  return pool;
}

Result<std::optional<JoinContext>> PoolJoin::context(const PoolSpec& spec, const ImageHives& hives) const {
  if (!directory_ && !blobs_) return std::nullopt;
  JoinContext context;
  context.domain = directory_ ? directory_->domain() : blobs_->domain();
  context.controller = directory_ ? directory_->controller() : blobs_->controller();
  if (spec.join->method == JoinMethod::direct) {
    RS_TRY(context.direct, join::DirectJoin::open(hives.hive(HiveId::system), hives.hive(HiveId::security),
                                                  hives.hive(HiveId::sam)));
  } else if (blobs_) {
    context.most_blob_bytes = blobs_->most_bytes();
  } else {
    RS_TRY(const auto blob,
           join::write_odj_data(join::make_odj_blob(longest(context.domain), context.controller)));
    context.most_blob_bytes = blob.size();
  }
  return context;
}

CloneFacts PoolJoin::example(CloneFacts facts) const {
  if (!directory_ && !blobs_) return facts;
  facts.membership = longest(directory_ ? directory_->domain() : blobs_->domain());
  facts.membership->machine_name = facts.name;
  return facts;
}

Result<std::vector<PoolJoin::Account>> PoolJoin::accounts(const PoolSpec& spec, PoolStore& store,
                                                          const std::vector<CloneRow>& rows) {
  std::vector<Account> accounts(rows.size());
  if (!directory_) return accounts;
  auto& directory = *directory_;
  RS_TRY_CTX(const auto container, "join.container", directory.container(spec.join->container));
  // Only accounts that are not there yet are noted as ours before they are made: should a crash come in
  // between, nobody else's is ever taken for one of ours.
  std::vector<std::string> intended;
  std::vector<bool> ours(rows.size());
  for (std::size_t at = 0; at < rows.size(); ++at) {
    if (rows[at].state == CloneState::made) continue;
    ours[at] = !rows[at].account.empty();
    if (ours[at]) continue;
    RS_TRY_CTX(const auto found, "account " + rows[at].name, directory.find_account(rows[at].name));
    if (!found) intended.push_back(rows[at].name);
    ours[at] = !found;
  }
  RS_CHECK(store.intend_accounts(intended));
  for (const bool own : {false, true}) {
    std::vector<join::AccountRequest> requests;
    std::vector<std::size_t> places;
    for (std::size_t at = 0; at < rows.size(); ++at)
      if (rows[at].state != CloneState::made && ours[at] == own) {
        requests.push_back({rows[at].name, join::random_machine_password()});
        places.push_back(at);
      }
    const bool reuse = own || spec.join->reuse_accounts;
    const auto made = directory.create_accounts(
        requests, container, reuse ? join::ExistingAccount::reuse : join::ExistingAccount::refuse);
    for (std::size_t i = 0; i < made.size(); ++i) {
      auto& one = accounts[places[i]];
      if (!made[i]) {
        one.error = Error(made[i].error()).with("account");
        if (own) one.account = kAccountIntended;  // perhaps it was made, and the answer lost
        continue;
      }
      if (own) one.account = made[i]->distinguished_name;
      one.membership = join::Membership{directory.domain(), rows[places[i]].name,
                                        requests[i].machine_password, made[i]->rid()};
    }
  }
  return accounts;
}

Result<void> PoolJoin::take_away(const CloneRow& clone) {
  if (clone.account.empty() || !directory_) return {};
  auto& directory = *directory_;
  auto name = clone.account;
  if (name == kAccountIntended) {
    RS_TRY(const auto found, directory.find_account(clone.name));
    if (!found) return {};
    name = found->distinguished_name;
  }
  return directory.delete_account(name);
}

Result<void> PoolJoin::complete(CloneFacts& facts, const Account& account) const {
  facts.membership = account.membership;
  if (!blobs_) return {};
  RS_TRY(auto blob, blobs_->read(*files_, facts.name));
  facts.membership = std::move(blob.membership);
  facts.join_blob = std::move(blob.data);
  return {};
}

std::vector<std::string> join_warnings(const PoolSpec& spec, const WindowsImage& image) {
  std::vector<std::string> warnings;
  if (image.generalised && image.has_answer_file)
    warnings.push_back(std::string(join::kUnattendPath) +
                       " is the image's own: Setup names the desktops as it says, and not as this pool does");
  const bool blob_in_answers = spec.join && spec.join->method == JoinMethod::unattend;
  if (blob_in_answers && image.has_setup_complete)
    warnings.push_back(std::string(join::kSetupCompletePath) + " is the image's own: have it delete " +
                       join::kUnattendPath + ", which holds the desktop's password until then");
  struct ::stat seen {};
  if (spec.join && !spec.join->blobs.empty() && ::stat(spec.join->blobs.c_str(), &seen) == 0 &&
      (seen.st_mode & (S_IROTH | S_IXOTH)) != 0)
    warnings.push_back(spec.join->blobs +
                       " can be read by everybody on this host, and its blobs hold passwords: chmod 700");
  return warnings;
}

}  // namespace roamstead::compose
