//! A chain in water whose motion may change from one moment to the next.

/// Numbers that look random and are the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn bits(&mut self) -> u64 {
        // Xorshift with a multiplication at the end: all bits may be used.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From −0.5 to 0.5.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    }

    fn direction(&mut self) -> [f64; 3] {
        unit(std::array::from_fn(|_| self.unit()))
    }
}

fn unit(v: [f64; 3]) -> [f64; 3] {
    let length = dot(v, v).sqrt().max(1e-6);
    v.map(|x| x / length)
}

fn dot(u: [f64; 3], v: [f64; 3]) -> f64 {
    (0..3).map(|i| u[i] * v[i]).sum()
}

fn sum(u: [f64; 3], v: [f64; 3], factor: f64) -> [f64; 3] {
    std::array::from_fn(|i| u[i] + factor * v[i])
}

/// How molecules move for some frames.
#[derive(Clone, Copy)]
pub struct Stage {
    pub frames: usize,
    /// How far an atom goes from one frame to the next, in Å.
    pub heat: f64,
    /// How much bonds and angles of water vary, relatively; rigid water has none.
    pub flexible: f64,
    /// What all coordinates are multiplied with: a barostat's box.
    pub scale: f64,
    /// Where everything is moved to.
    pub shift: [f64; 3],
}

impl Stage {
    /// Rigid water at room temperature.
    pub fn nvt(frames: usize) -> Self {
        Self { frames, heat: 0.3, flexible: 0.0, scale: 1.0, shift: [0.0; 3] }
    }
}

/// Atoms in a box, in Å.
pub struct Scene {
    random: Random,
    /// Atoms of the chain, then the oxygen and two directions of each water.
    chain: Vec<[f64; 3]>,
    water: Vec<[[f64; 3]; 3]>,
}

/// The edge of the box.
pub const BOX: f64 = 30.0;
/// From oxygen to hydrogen.
const BOND: f64 = 0.957_2;
/// Half of the angle between the bonds.
const HALF_ANGLE: f64 = 0.912_109;

impl Scene {
    pub fn new(chain: usize, water: usize, seed: u64) -> Self {
        let mut random = Random::new(seed);
        let mut place = [3.0, 15.0, 11.0];
        let chain = (0..chain)
            .map(|atom| {
                place[atom % 3] += 1.2;
                place[(atom + 1) % 3] -= 0.7 + 0.1 * random.unit();
                place
            })
            .collect();
        let mut molecule = || {
            let middle = std::array::from_fn(|_| BOX * (random.unit() + 0.5));
            [middle, random.direction(), random.direction()]
        };
        let water = (0..water).map(|_| molecule()).collect();
        Self { random, chain, water }
    }

    pub fn rows(&self) -> usize {
        self.chain.len() + 3 * self.water.len()
    }

    /// The frames of some stages, one after the other.
    pub fn play(&mut self, stages: &[Stage]) -> Vec<[f64; 3]> {
        stages
            .iter()
            .flat_map(|stage| std::iter::repeat_n(stage, stage.frames))
            .flat_map(|stage| {
                self.move_on(stage.heat);
                self.atoms(stage)
            })
            .collect()
    }

    fn move_on(&mut self, heat: f64) {
        let random = &mut self.random;
        let places = self.chain.iter_mut().chain(self.water.iter_mut().flatten());
        for place in places {
            *place = place.map(|x| x + heat * random.unit());
        }
    }

    fn atoms(&mut self, stage: &Stage) -> Vec<[f64; 3]> {
        let mut all = self.chain.clone();
        for [oxygen, along, aside] in &self.water {
            let along = unit(*along);
            let aside = unit(sum(*aside, along, -dot(*aside, along)));
            let mut vary = || 1.0 + stage.flexible * self.random.unit();
            let hydrogen = |bond: f64, angle: f64| {
                let turned = sum(along.map(|x| x * angle.cos()), aside, angle.sin());
                sum(*oxygen, turned, bond)
            };
            all.push(*oxygen);
            all.push(hydrogen(BOND * vary(), HALF_ANGLE * vary()));
            all.push(hydrogen(BOND * vary(), -HALF_ANGLE * vary()));
        }
        let placed = |atom: [f64; 3]| sum(stage.shift, atom, stage.scale);
        all.into_iter().map(placed).collect()
    }
}
