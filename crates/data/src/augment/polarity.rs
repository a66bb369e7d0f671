//! Words that carry a verdict, and pairs that mean the opposite: what stops `bad` from replacing `good`
//! where no WordNet says so, for words of opposite meaning stand in the same contexts and so lie side by side in any
//! embedding.
//!
//! A short list of common English words written for Hone. It cannot be complete: a rare word's opposite, or an
//! opposition that only a field knows, passes unless WordNet or the endings below tell.

use super::family::stems;
use std::collections::HashMap;
use std::sync::OnceLock;

const POSITIVE: &str = "
 able absorbing accomplished accurate acclaim acclaimed achievement admirable admiration admire adorable adore advantage affecting affection
 affectionate affordable agile agree agreeable alive amaze amazing ambitious amuse amusement amusing appeal
 appealing applaud appreciate appropriate approve art artful artistry astonishing astute attentive attractive authentic awesome
 awe beautiful beauty befitting benefit best better beloved bliss blissful bold brave bravo bravura breathtaking bright brilliance brilliant
 calm captivate captivating care careful celebrate charisma charismatic charm charming cheer cheerful classic
 classy clean clear clever cohesive colorful comfort comfortable comforting commend commendable compassion compassionate compelling competent complex
 confident congratulation convince convincing cool correct courage courageous cozy craft craftsmanship creative creativity credible crisp cute dazzle dazzling
 decent deep deft delicate delicious delicacy delight delightful deserve dignity dynamic eager earnest ease easy
 effective effectively efficient effortless elegance elegant eloquent empathy enchant enchanting encourage encouraging endearing energetic energy
 engage engaging engrossing enhance enjoy enjoyable enjoyment enlighten enlightening enliven entertain entertaining entertainment enthrall enthralling
 enthusiasm enthusiastic epic ethical evocative excel excellence excellent exceptional excite excitement exciting exhilarate exhilarating
 exquisite extraordinary exuberant fabulous fair faith faithful fantastic fascinate fascinating fast favor favorable favorite fearless
 fine finest first-rate flair flattering flawless fluid fond free fresh friend friendly fulfil fulfill fulfilling fun funny gain gem generous genial genius
 gentle genuine gift gifted glad glorious glory glow good goodness gorgeous grace graceful gracious grand grateful great greatness gripping
 handsome happily happiness happy harmony healthy heartfelt heartwarming hearty help helpful heroic hilarious hit honest honesty honor
 hope hopeful hot-blooded humane humor humorous ideal imagination imaginative impeccable important impress impressive improve improvement incisive incredible ingenious innovative
 insight insightful inspiration inspire inspired inspiring intelligence intelligent intense interest interesting intimate intricate intriguing invaluable inventive
 invigorating irresistible jewel jolly joy joyful joyous keen kind kindness laugh-out-loud laudable legendary like likable likeable lively love loved
 lovable loveliness lovely loving loyal lucid lucky luminous luscious lush lyrical magic magical magnetic magnificent majestic marvel marvelous
 masterful masterly masterpiece mastery mature meaningful memorable merit mesmerizing miracle miraculous moving neat nice nifty
 nimble noble nourishing nuanced offbeat optimistic original originality outstanding painstaking passion passionate peace peaceful perceptive
 perfect perfection personable playful pleasant please pleasing pleasurable pleasure plucky poetic poetry poignant polished popular positive potent
 powerful praise praiseworthy precious precise pretty pride priceless principled profound promising proud provocative pure quality
 quirky radiant rapturous rare ravishing real realistic reasonable recommend refined refresh refreshing relax reliable relief remarkable resonant respect
 respectful resourceful rewarding rich richness right riveting robust romantic rousing safe satisfaction satisfy satisfying satisfied savvy scintillating seamless
 sensational sensible sensitive sensitivity sensual sharp shine shines sincere sincerity skill skilled skillful sleek smart smile smooth solid soothing
 sophisticated soulful sparkle sparkling special spectacular spirited splendid splendor spontaneous steady stellar stimulating stirring strength strong
 stunning sturdy stylish sublime substantive subtle subtlety succeed success successful suitable sunny super superb superior support supportive supreme sure surprising suspenseful sustain
 sweet sweetness sympathetic sympathy talent talented tasteful tasty tender tenderness terrific thankful thanks thorough thoughtful thrill
 thrilling thrive timeless top touching tranquil treasure treat tremendous triumph triumphant true trust trustworthy truth truthful unforgettable
 unique uplifting useful valuable value versatile vibrant victory vigor vigorous virtue virtuoso vital vivid warm warmth
 watchable welcome well whimsical wholesome win winner winning wisdom wise wit witty wonder wonderful wondrous worth worthwhile
 worthy wow zest
";

const NEGATIVE: &str = "
 abandon abandoned abominable abrasive abrupt absurd abuse abusive abysmal accident accuse ache affected aggressive agony aimless alarm
 alienate alienating amateurish anger angry anguish annoy annoyance annoying anxiety anxious apathetic apathy appalling arrogance arrogant artificial
 ashamed atrocious awful awkward bad badly banal bankrupt barren betray betrayal bitter blame bland blank bleak blind bloated bloodless blunder blunt bogus bomb bore bored
 boredom boring bother bothersome brainless break breakdown broken brutal bug bumbling burden calculated callous careless cartoonish catastrophe catastrophic chaos
 chaotic cheap cheat cheesy chore clash cliche cliched clumsy clunker clunky coarse cold complain complaint condescending confuse confused confusing confusion
 contempt contrived corny corrupt costly coward crap crappy crash crass crazy crime criminal cringe crisis crude cruel cruelty cry cumbersome
 cynical cynicism damage danger dangerous dead deadening deadly dearth death deceit deceive decline deficient defeat defect
 defective degrade degrading demeaning denial dependence deplorable depress depressed depressing depression derivative desolate despair desperate despicable destroy destruction deteriorate
 detest devastate devastating difficult difficulty dim dire dirty disagree disagreeable disappoint disappointed disappointing disappointment disaster disastrous discomfort disconnected disgust
 disgusting dishonest dislike dismal disorder displease disposable distasteful distract distracting distress disturb disturbing doomed doubt drab drag dragging
 dread dreadful dreary drivel dud dull dumb dysfunctional embarrass embarrassing embarrassment emptiness empty enemy enrage error evil exasperating
 excess excessive excruciating exhaust exhausting expensive exploit exploitative exploitation fail failed failing failure fake fall false farce farcical
 fatal fatally fault faulty fear feeble fiasco filth filthy flat flaw flawed flimsy flop fool foolish forced forgettable formulaic foul fraud
 frenetic frighten frightening frivolous frustrate frustrated frustrating frustration futile garbage garbled garish ghastly gimmick gimmicky glib gloom gloomy goofy gory graceless
 gratuitous greed greedy grief grim gripe gross grotesque guilt guilty hackneyed half-baked harm harmful harsh hate hated hateful hatred
 heavy-handed hell hideous hollow hokey hopeless horrendous horrible horrid horrific hostile humiliate humiliating humiliation hurt hypocrisy hypocritical idiot idiotic ignorance ignorant
 ill illogical immature imitation impossible inadequate inane inappropriate inaccurate incoherent incompetence incompetent inconsequential inconsistent indifference indifferent
 indulgent inept inert inferior inferiority insane insecure insensitive insincere insipid insufferable insult insulting interminable intolerable irksome irrelevant irresponsible irritate irritating
 jarring jealous jerk joyless junk juvenile kill killer lackluster lame lamentable laughable lazy leaden lethargic liar lie
 lifeless limp listless loathe loathsome lonely loser lose losing loss lost loud lousy ludicrous lurid mad maudlin meager mean mean-spirited meandering meaningless
 mediocre mediocrity melodramatic menace mess messy mindless miscast misery miserable misfire misguided mishmash misleading miss mistake mistaken monotonous monstrous moronic
 muddled mundane murky mushy nasty nausea nauseating negative neglect nightmare noisy nonsense nonsensical nuisance numb numbing obnoxious obscure obvious obviously
 offend offended offensive old-hat ordeal outdated outrage outrageous overblown overbearing overcooked overdone overlong overrated oversized overwrought pain painful painfully pale panic paper-thin paranoid pathetic
 pedestrian perverse pessimistic petty phony pity plague plodding ponderous pointless poison poor poorly poverty predictable preposterous pretentious problem problematic propaganda
 prejudice pretentiousness puerile punish quarrel questionable racist rage rambling rancid reckless regret reject repel repellent repetitive repugnant repulsive resent retarded
 ridiculous rip-off rotten routine rude ruin ruined rubbish sad sadistic sadness sappy scare scary scandal scream screwed selfish sentimental senseless shabby shallow
 shame shameful shameless shapeless shock shocking shoddy shortcoming sick sickening silly simplistic sin sinister skeptical slack slapdash sleazy sloppy slow sluggish slog smug
 snob sorrow sorry sour spoil stale stereotype stereotypical sterile stiff stilted stink strained stress struggle stuck stupid stupidity substandard suck sucks suffer suffering
 superficial surly suspicious tasteless tedious tedium terrible terror threat threaten throwaway tired tiresome tortured torture toxic tragedy tragic
 trash trashy trite trivial trouble troubled troubling turgid twisted ugliness ugly unbearable uneven unfunny unlikable unoriginal unpleasant unwatchable
 uninspired upset useless vacuous vain vapid vicious vile violence violent virus vomit vulgar waste wasted wasteful weak weakness
 weary weird whine wicked woe woeful wooden worn worry worse worst worthless wreck wrong yawn
";

/// Pairs that mean the opposite and of which neither is a verdict, or which the lists above do not hold.
const PAIRS: &str = "
 up/down in/out inside/outside over/under above/below before/after early/late earlier/later first/last start/end start/finish start/stop
 begin/end begin/finish beginning/end beginning/ending opening/ending open/close open/shut opened/closed high/low higher/lower highest/lowest big/small
 big/little large/small larger/smaller largest/smallest great/small huge/tiny long/short longer/shorter tall/short thick/thin wide/narrow broad/narrow
 old/young old/new older/younger older/newer ancient/modern past/future past/present yesterday/tomorrow today/yesterday today/tomorrow
 day/night morning/evening summer/winter north/south east/west northern/southern eastern/western left/right front/back forward/backward top/bottom
 hot/cold warm/cool wet/dry light/dark light/heavy bright/dim black/white full/empty fast/slow quick/slow hard/soft hard/easy
 loud/quiet rich/poor simple/complex simple/complicated major/minor public/private real/fake true/false same/different similar/different
 right/wrong man/woman men/women boy/girl boys/girls male/female husband/wife father/mother dad/mom brother/sister son/daughter king/queen
 uncle/aunt actor/actress hero/heroine hero/villain sir/madam gentleman/lady guy/girl friend/enemy love/hate win/lose won/lost winner/loser victory/defeat
 buy/sell bought/sold give/take gave/took send/receive come/go arrive/leave arrive/depart enter/leave enter/exit push/pull rise/fall rose/fell
 increase/decrease grow/shrink add/remove include/exclude accept/reject accept/refuse allow/forbid allow/prevent allow/deny agree/disagree
 remember/forget find/lose gain/lose create/destroy build/destroy live/die lived/died life/death alive/dead birth/death born/died war/peace
 attack/defend question/answer ask/answer teach/learn teacher/student doctor/patient lend/borrow import/export cause/effect
 always/never often/rarely often/seldom everything/nothing everyone/nobody everybody/nobody all/none more/less most/least many/few much/little
 max/min maximum/minimum plus/minus positive/negative optimistic/pessimistic yes/no with/without on/off here/there near/far now/then
 beauty/ugliness success/failure succeed/fail strength/weakness strong/weak good/evil good/bad better/worse best/worst comedy/tragedy comic/tragic laugh/cry
 smile/frown hope/despair asleep/awake sleep/wake sunrise/sunset sit/stand lead/follow leader/follower majority/minority major/minor senior/junior upper/lower
 internal/external interior/exterior domestic/foreign liberal/conservative democrat/republican legal/illegal innocent/guilty cheap/expensive
 clean/dirty safe/dangerous smooth/rough sharp/dull straight/crooked sweet/sour sweet/bitter fresh/stale loose/tight sane/insane sober/drunk
 credit/debit deposit/withdrawal deposit/withdraw pending/completed enable/disable activate/deactivate lock/unlock freeze/unfreeze block/unblock
 fact/fiction heaven/hell angel/devil god/devil saint/sinner guest/host master/servant rural/urban city/country predecessor/successor daytime/nighttime occasionally/frequently rarely/frequently similarly/conversely sea/land
";

/// Classes whose members exclude one another.
const CLASSES: &[&str] = &[
    "monday tuesday wednesday thursday friday saturday sunday",
    "january february march april may june july august september october november december",
    "spring summer autumn fall winter",
    "red orange yellow green blue purple violet pink brown black white gray grey gold silver",
    "north south east west northern southern eastern western northeast northwest southeast southwest",
    "morning noon afternoon evening night midnight",
    "second minute hour day week month year decade century",
    "mother father parent brother sister son daughter uncle aunt cousin grandmother grandfather wife husband",
    "english french german spanish italian chinese japanese russian indian american british african european \
     asian canadian australian mexican korean irish scottish dutch polish greek turkish arab jewish christian muslim",
    "singular plural",
    "i you he she we they",
];

/// The sign of a listed word: 1 or -1.
fn signs() -> &'static HashMap<&'static str, i8> {
    static SIGNS: OnceLock<HashMap<&'static str, i8>> = OnceLock::new();
    SIGNS.get_or_init(|| {
        let listed = |text: &'static str, sign: i8| text.split_whitespace().map(move |w| (w, sign));
        listed(POSITIVE, 1).chain(listed(NEGATIVE, -1)).collect()
    })
}

/// Prefixes that turn a word round.
const DENYING: &[&str] = &["un", "in", "im", "il", "ir", "dis", "non", "mis", "anti"];

/// Whether a word is a verdict: 1 for, -1 against, 0 for neither or unknown.
pub(super) fn polarity(word: &str) -> i8 {
    let signs = signs();
    let listed = |w: &str| stems(w).iter().find_map(|s| signs.get(s.as_str()).copied());
    if let Some(sign) = listed(word) {
        return sign;
    }
    if word.contains('-') {
        let sum: i32 = word.split('-').map(|w| i32::from(polarity(w))).sum();
        return sum.signum() as i8;
    }
    for prefix in DENYING {
        if let Some(sign) = word
            .strip_prefix(prefix)
            .filter(|w| w.len() >= 4)
            .and_then(listed)
        {
            return -sign;
        }
    }
    match word.strip_suffix("less").and_then(listed) {
        Some(1) => -1,
        _ => 0,
    }
}

fn pairs() -> &'static HashMap<&'static str, Vec<&'static str>> {
    static PAIRED: OnceLock<HashMap<&'static str, Vec<&'static str>>> = OnceLock::new();
    PAIRED.get_or_init(|| {
        let mut map: HashMap<&str, Vec<&str>> = HashMap::new();
        for (a, b) in PAIRS.split_whitespace().filter_map(|p| p.split_once('/')) {
            map.entry(a).or_default().push(b);
            map.entry(b).or_default().push(a);
        }
        map
    })
}

/// Whether one word is the other with a prefix or an ending that denies it.
fn denied(a: &str, b: &str) -> bool {
    let (short, long) = if a.len() < b.len() { (a, b) } else { (b, a) };
    DENYING.iter().any(|p| long.strip_prefix(p) == Some(short))
        || match (a.strip_suffix("ful"), b.strip_suffix("less")) {
            (Some(x), Some(y)) => x == y,
            _ => match (a.strip_suffix("less"), b.strip_suffix("ful")) {
                (Some(x), Some(y)) => x == y,
                _ => long.strip_suffix("less") == Some(short),
            },
        }
}

/// Whether two lower-case words are known to mean the opposite, or to exclude one another.
pub(super) fn opposed(a: &str, b: &str) -> bool {
    if a == b {
        return false;
    }
    let (sa, sb) = (stems(a), stems(b));
    let paired = pairs();
    let pair = |x: &String| {
        paired
            .get(x.as_str())
            .is_some_and(|others| sb.iter().any(|y| others.contains(&y.as_str())))
    };
    let class = |members: &&str| {
        let holds = |stems: &[String]| {
            members
                .split_whitespace()
                .find(|m| stems.iter().any(|s| s == m))
        };
        matches!((holds(&sa), holds(&sb)), (Some(x), Some(y)) if x != y)
    };
    polarity(a) * polarity(b) < 0
        || sa.iter().any(pair)
        || CLASSES.iter().any(class)
        || sa.iter().any(|x| sb.iter().any(|y| denied(x, y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdicts() {
        for (word, sign) in [
            ("good", 1),
            ("great", 1),
            ("beautifully", 1),
            ("loved", 1),
            ("funniest", 1),
            ("bad", -1),
            ("boring", -1),
            ("wasted", -1),
            ("unfunny", -1),
            ("unimaginative", -1),
            ("humorless", -1),
            ("flawless", 1),
            ("well-acted", 1),
            ("mean-spirited", -1),
            ("film", 0),
            ("under", 0),
            ("understand", 0),
            ("table", 0),
        ] {
            assert_eq!(polarity(word), sign, "{word}");
        }
    }

    #[test]
    fn no_word_is_listed_as_both() {
        let positive: std::collections::HashSet<&str> = POSITIVE.split_whitespace().collect();
        let both: Vec<&str> = NEGATIVE
            .split_whitespace()
            .filter(|w| positive.contains(w))
            .collect();
        assert!(both.is_empty(), "{both:?}");
        for word in POSITIVE
            .split_whitespace()
            .chain(NEGATIVE.split_whitespace())
        {
            assert!(!word.contains('_'), "{word}");
        }
    }

    #[test]
    fn opposites() {
        for (a, b, opposite) in [
            ("good", "bad", true),
            ("greater", "awful", true),
            ("up", "down", true),
            ("opened", "closing", true),
            ("monday", "tuesday", true),
            ("happy", "unhappy", true),
            ("useful", "useless", true),
            ("legal", "illegal", true),
            ("men", "women", true),
            ("wins", "losing", true),
            ("good", "great", false),
            ("film", "movie", false),
            ("films", "film", false),
            ("monday", "mondays", false),
        ] {
            assert_eq!(opposed(a, b), opposite, "{a} {b}");
            assert_eq!(opposed(b, a), opposite, "{b} {a}");
        }
    }
}
